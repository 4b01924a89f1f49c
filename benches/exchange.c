/* exchange [EVENTS [THREADS]]: threads that replace entries of their own tables and free each
 * other's blocks.
 *
 * EVENTS / 2 blocks are made by all threads together, and each is freed once. Every 8th block that
 * leaves a table goes to the next thread, which frees it. */
#include "sizes.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLOTS 4096
#define PLACES 256
#define MOST 64

/* A ring with one writer and one reader. A place that is NULL is the writer's, any other the
 * reader's; each side keeps its own position. */
struct worker {
    _Alignas(64) _Atomic(char *) inbox[PLACES];
    _Alignas(64) unsigned read_at;
    unsigned write_at; /* in the next worker's inbox */
    long blocks;
    uint64_t state;
    struct worker *next;
    pthread_t thread;
    char *table[SLOTS];
};

static struct worker workers[MOST];
static pthread_barrier_t all_written;

static int hand_on(struct worker *me, char *block)
{
    _Atomic(char *) *place = &me->next->inbox[me->write_at % PLACES];
    if (atomic_load_explicit(place, memory_order_acquire))
        return 0;
    atomic_store_explicit(place, block, memory_order_release);
    me->write_at++;
    return 1;
}

static void empty_inbox(struct worker *me)
{
    for (;;) {
        _Atomic(char *) *place = &me->inbox[me->read_at % PLACES];
        char *block = atomic_load_explicit(place, memory_order_acquire);
        if (!block)
            return;
        atomic_store_explicit(place, NULL, memory_order_release);
        me->read_at++;
        free(block);
    }
}

static void *work(void *argument)
{
    struct worker *me = argument;
    unsigned leaving = 0;

    for (long i = 0; i < me->blocks; i++) {
        uint64_t r = next_random(&me->state);
        char **slot = &me->table[(r >> 32) % SLOTS];
        if (*slot && (++leaving % 8 != 0 || !hand_on(me, *slot)))
            free(*slot);
        *slot = new_block(r);
        if (i % 64 == 0)
            empty_inbox(me);
    }
    pthread_barrier_wait(&all_written);
    empty_inbox(me);
    for (int i = 0; i < SLOTS; i++)
        if (me->table[i])
            free(me->table[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    long blocks = number(argc, argv, 1, 5000000) / 2;
    long threads = number(argc, argv, 2, 2);

    if (threads < 1 || threads > MOST) {
        fprintf(stderr, "exchange: 1 to %d threads\n", MOST);
        return 2;
    }
    pthread_barrier_init(&all_written, NULL, (unsigned)threads);
    for (long i = 0; i < threads; i++) {
        workers[i].blocks = blocks / threads + (i < blocks % threads);
        workers[i].state = (uint64_t)i << 32;
        workers[i].next = &workers[(i + 1) % threads];
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
            fprintf(stderr, "exchange: cannot start a thread\n");
            return 1;
        }
    }
    for (long i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    return 0;
}
