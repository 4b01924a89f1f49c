#include "queue.h"

static int play(struct queue *queue)
{
    float sample;
    for (int round = 0; round < 1000; round++) {
        if (!queue_push(queue, (float)round) || !queue_pop(queue, &sample) || sample != (float)round)
            return 0;
    }
    return !queue_pop(queue, &sample);
}

int main(void)
{
    struct queue *queue = queue_new(64);
    int well = play(queue);
    queue_free(queue);
    return !well;
}
