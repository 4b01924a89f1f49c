/* What the two workloads share: arguments, random numbers and block sizes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline long number(int argc, char **argv, int index, long otherwise)
{
    return index < argc ? atol(argv[index]) : otherwise;
}

/* splitmix64: any state will do as a seed. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 16 to 127 bytes; one block in 32 up to 8 KiB. */
static inline size_t block_size(uint64_t r)
{
    if ((r & 31) == 0)
        return 128 + (r >> 5) % (8192 - 128 + 1);
    return 16 + (r >> 5) % 112;
}

/* A function of its own, so that all blocks have one caller. */
static __attribute__((noinline)) char *new_block(uint64_t r)
{
    char *block = malloc(block_size(r));
    if (!block) {
        perror("malloc");
        exit(1);
    }
    *block = 1;
    return block;
}
