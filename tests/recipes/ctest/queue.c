#include "queue.h"

#include <stdlib.h>

struct queue {
    unsigned capacity, first, length;
    float *samples;
};

struct queue *queue_new(unsigned capacity)
{
    struct queue *queue = malloc(sizeof *queue);
    *queue = (struct queue) { .capacity = capacity, .samples = malloc(capacity * sizeof(float)) };
    return queue;
}

void queue_free(struct queue *queue)
{
    free(queue->samples);
    free(queue);
}

int queue_push(struct queue *queue, float sample)
{
    if (queue->length == queue->capacity)
        return 0;
    queue->samples[(queue->first + queue->length++) % queue->capacity] = sample;
    return 1;
}

int queue_pop(struct queue *queue, float *sample)
{
    if (queue->length == 0)
        return 0;
    *sample = queue->samples[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->length--;
    return 1;
}
