/* Calls every allocation function of C once or twice and prints each call as the contract spells
 * it, with the function that made it: the test compares this text with the lines. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "say.h"

#define CALLER __attribute__((noinline)) static
#define P(block) pointer_text(block, (char[32]){0})

CALLER void *call_malloc(size_t size)
{
    void *block = malloc(size);
    say("malloc(%zu) = %s  [call_malloc]\n", size, P(block));
    return block;
}

CALLER void *call_calloc(size_t count, size_t size)
{
    void *block = calloc(count, size);
    say("calloc(%zu, %zu) = %s  [call_calloc]\n", count, size, P(block));
    return block;
}

CALLER void *call_realloc(void *old, size_t size)
{
    char before[32];
    pointer_text(old, before);
    void *block = realloc(old, size);
    say("realloc(%s, %zu) = %s  [call_realloc]\n", before, size, P(block));
    return block;
}

CALLER void *call_reallocarray(void *old, size_t count, size_t size)
{
    char before[32];
    pointer_text(old, before);
    void *block = reallocarray(old, count, size);
    say("reallocarray(%s, %zu, %zu) = %s  [call_reallocarray]\n", before, count, size, P(block));
    return block;
}

CALLER void *call_aligned_alloc(size_t alignment, size_t size)
{
    void *block = aligned_alloc(alignment, size);
    say("aligned_alloc(%zu, %zu) = %s  [call_aligned_alloc]\n", alignment, size, P(block));
    return block;
}

CALLER void *call_posix_memalign(size_t alignment, size_t size)
{
    void *block = NULL;
    if (posix_memalign(&block, alignment, size))
        block = NULL;
    say("posix_memalign(%zu, %zu) = %s  [call_posix_memalign]\n", alignment, size, P(block));
    return block;
}

CALLER void *call_memalign(size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    say("memalign(%zu, %zu) = %s  [call_memalign]\n", alignment, size, P(block));
    return block;
}

#ifdef __GLIBC__ /* musl has neither */
CALLER void *call_valloc(size_t size)
{
    void *block = valloc(size);
    say("valloc(%zu) = %s  [call_valloc]\n", size, P(block));
    return block;
}

CALLER void *call_pvalloc(size_t size)
{
    void *block = pvalloc(size);
    say("pvalloc(%zu) = %s  [call_pvalloc]\n", size, P(block));
    return block;
}
#endif

CALLER void call_free(void *block)
{
    if (block) /* free(NULL) is called, but is no event */
        say("free(%s)  [call_free]\n", P(block));
    free(block);
}

/* More than any address space: the sizes of calls that must fail. Volatile, so that the compiler
 * cannot complain. */
static volatile size_t too_much = (size_t)1 << 62;

int main(void)
{
    call_free(call_malloc(72));
    call_free(call_malloc(0));
    call_free(call_malloc(1));
    call_free(call_malloc(100000));
    call_free(call_malloc(5000000)); /* above the threshold where glibc maps it */
    call_malloc(too_much);

    call_free(call_calloc(10, 24));
    call_free(call_calloc(0, 7));
    call_free(call_calloc(1, 300000));
    call_calloc(too_much, 16); /* the product overflows */

    void *block = call_realloc(NULL, 40);
    block = call_realloc(block, 41);
    block = call_realloc(block, 4000);
    block = call_realloc(block, 300000);
    block = call_realloc(block, 16);
    if (call_realloc(block, too_much))
        return 1;
    call_free(block);

    block = call_reallocarray(NULL, 3, 5);
    block = call_reallocarray(block, 300, 5);
    if (call_reallocarray(block, too_much, 16))
        return 1;
    call_free(block);

    call_free(call_aligned_alloc(64, 128));
    call_free(call_aligned_alloc(4096, 8192));
    call_free(call_posix_memalign(64, 100));
    call_free(call_posix_memalign(1024, 3));
    call_posix_memalign(3, 100); /* not a power of two: EINVAL */
    call_free(call_memalign(32, 33));
#ifdef __GLIBC__
    call_free(call_valloc(50));
    call_free(call_pvalloc(60));
#endif
    call_free(NULL);
    say("done\n");
    return 0;
}
