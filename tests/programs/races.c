/* races free|realloc THREADS EVENTS: threads swap blocks through a few slots as fast as they can,
 * so most blocks are freed (or resized) by another thread than the one that made them, and an
 * address that one thread gives back is taken by another at once.
 *
 * One arena for all threads and no thread caches would be slower but no harder: with M_ARENA_MAX
 * of 1 addresses wander between threads; the caches are small. */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "say.h"

#ifndef SLOTS
#define SLOTS 64
#endif

static void *slot[SLOTS];
static long events_of_each;
static int resizing;
static long events;

static size_t size_of(uint64_t r)
{
#ifdef ONE_SIZE
    return 2000 + r % 2; /* one size class, above what thread caches keep */
#else
    return 16 + r % 3000;
#endif
}

static void *work(void *seed)
{
    uint64_t r = (uintptr_t)seed * 0x9e3779b97f4a7c15ull;
    long done = 0;
    while (done < events_of_each) {
        r ^= r << 13;
        r ^= r >> 7;
        r ^= r << 17;
        void **at = &slot[(r >> 33) % SLOTS];
        void *block = __atomic_exchange_n(at, NULL, __ATOMIC_ACQ_REL);
        if (block && resizing && r % 3) {
            /* Growing moves the block; the old address is up for grabs before realloc returns. */
            block = realloc(block, size_of(r) * (1 + r % 4));
            done++;
        } else {
            done += block != NULL;
            free(block);
            block = malloc(size_of(r));
            done++;
        }
        block = __atomic_exchange_n(at, block, __ATOMIC_ACQ_REL);
        done += block != NULL;
        free(block);
    }
    __atomic_fetch_add(&events, done, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 1;
    int threads = atoi(argv[2]);
    pthread_t thread[64];
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    resizing = !strcmp(argv[1], "realloc");
    events_of_each = atol(argv[3]) / threads;
    for (intptr_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, work, (void *)(i + 1)))
            return 2;
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    say("events=%ld\n", events);
    return 0;
}
