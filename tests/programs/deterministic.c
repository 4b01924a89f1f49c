/* deterministic STEPS: the same sequence of every allocation function each time, from a fixed
 * random seed; about a tenth of the blocks are never freed. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#define SLOTS 500

static uint64_t state = 88172645463325252ull;

static uint64_t next(void) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void *take(uint64_t r)
{
    size_t size = 1 + (r >> 20) % 2000;
    void *block = NULL;
    switch (r % 6) {
    case 0: return malloc(size);
    case 1: return calloc(1 + r % 5, size);
    case 2: return aligned_alloc(64, (size + 63) / 64 * 64);
    case 3: return posix_memalign(&block, 128, size) ? NULL : block;
    case 4: return memalign(32, size);
    default: return realloc(NULL, size);
    }
}

int main(int argc, char **argv)
{
    static void *slot[SLOTS];
    long steps = argc > 1 ? atol(argv[1]) : 1000;
    for (long i = 0; i < steps; i++) {
        uint64_t r = next();
        void **at = &slot[(r >> 40) % SLOTS];
        if (r % 4 == 0 && *at)
            *at = realloc(*at, 1 + (r >> 10) % 3000);
        else if (r % 40 == 1) /* leaked: whatever was there stays */
            *at = take(r);
        else {
            free(*at);
            *at = r % 3 ? take(r >> 3) : NULL;
        }
    }
    return 0;
}
