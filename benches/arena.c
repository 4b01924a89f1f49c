/* What arenas cost beside malloc, in one run: medians. Runs with the hook preloaded.
 *
 * One line a figure, `name=value`: nanoseconds, but for the two whose names say otherwise. */
#include "../libsnhook/include/snhook.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 15, BLOCKS = 1000000, BATCH = 100000 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

/* Programs have all sizes; small ones are the most. */
static size_t size_of(int at) {
    static const unsigned char sizes[] = {24, 40, 16, 72, 100, 32, 8, 56};
    return sizes[at & 7];
}

/* What is measured must not be optimised away. */
static void *volatile sink;

int main(void) {
    double pair[ROUNDS], fresh[ROUNDS], warm[ROUNDS], destroy[ROUNDS], overhead = 0;
    snhook_arena kept;
    if (!snhook_loaded()) {
        fputs("the hook is not loaded\n", stderr);
        return 1;
    }
    kept = snhook_arena_create(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int at = 0; at < BATCH; at++) {
            sink = malloc(size_of(at));
            free(sink);
        }
        pair[round] = (now() - start) / BATCH;

        snhook_arena arena = snhook_arena_create(NULL);
        start = now();
        for (int at = 0; at < BLOCKS; at++)
            sink = snhook_arena_alloc(arena, size_of(at));
        fresh[round] = (now() - start) / BLOCKS;
        snhook_arena_statistics stats = SNHOOK_ARENA_STATISTICS_INIT;
        snhook_arena_stats(arena, &stats);
        overhead = (double)(stats.bytes_used - stats.bytes) / (double)stats.blocks;
        start = now();
        snhook_arena_destroy(arena);
        destroy[round] = now() - start;

        /* After the first round, without a fault: in the chunk that a reset keeps. */
        start = now();
        for (int at = 0; at < BATCH; at++) {
            if (at % 1000 == 0)
                snhook_arena_reset(kept);
            sink = snhook_arena_alloc(kept, size_of(at));
        }
        warm[round] = (now() - start) / BATCH;
    }
    printf("malloc_free_pair=%.1f\narena_alloc_fresh=%.1f\narena_alloc_after_reset=%.1f\n", median(pair),
           median(fresh), median(warm));
    printf("destroy_of_a_million_ms=%.2f\noverhead_bytes_a_block=%.1f\n", median(destroy) / 1e6, overhead);
    return 0;
}
