/* A queue of fixed capacity between a sound card and who fills it. */
#pragma once

struct queue;

struct queue *queue_new(unsigned capacity);
void queue_free(struct queue *queue);

/* Called where nothing may wait: neither allocates. They return 0 where the queue is full, or empty. */
int queue_push(struct queue *queue, float sample);
int queue_pop(struct queue *queue, float *sample);
