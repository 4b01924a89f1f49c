/* A library that allocates, built twice as two libraries of the same layout (-DNAME=plugin_a,
 * -DNAME=plugin_b): after dlclose of one the other is likely mapped at the same addresses. */
#include <stdlib.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define TAKE PASTE(NAME, _take)
#define GIVE PASTE(NAME, _give)

__attribute__((noinline)) static void *TAKE(size_t size)
{
    void *block = malloc(size);
    return block;
}

__attribute__((noinline)) static void GIVE(void *block)
{
    free(block);
}

/* Takes and gives `calls` blocks; returns their bytes. */
long plugin_work(long calls)
{
    long bytes = 0;
    for (long i = 0; i < calls; i++) {
        GIVE(TAKE((size_t)(100 + i)));
        bytes += 100 + i;
    }
    return bytes;
}

/* Where it is mapped. */
void *plugin_address(void)
{
    return (void *)plugin_work;
}
