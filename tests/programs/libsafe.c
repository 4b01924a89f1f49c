/* An allocator that may be called at any time, from signal handlers too: a bump pointer moved by
 * one atomic instruction, nothing is ever reused. Preloaded, it is the allocator that serves the
 * program; the hook in front of it can then be interrupted at any instruction by a handler that
 * allocates, which with glibc's malloc would be undefined. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

static char *start;
static uintptr_t next;
enum { HEADER = 16 };
#define ROOM (64ul << 30)

static void *take(size_t alignment, size_t size)
{
    if (!__atomic_load_n(&start, __ATOMIC_ACQUIRE)) {
        /* The first call comes from the loader, before there are threads. */
        next = (uintptr_t)mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        __atomic_store_n(&start, (char *)next, __ATOMIC_RELEASE);
    }
    if (alignment < 16)
        alignment = 16;
    if (size > ROOM / 4)
        return NULL;
    uintptr_t at = __atomic_fetch_add(&next, (HEADER + size + alignment + 15) & ~15ul, __ATOMIC_RELAXED);
    uintptr_t block = (at + HEADER + alignment - 1) & ~(alignment - 1);
    if (block + size > (uintptr_t)start + ROOM)
        return NULL;
    *(size_t *)(block - HEADER) = size;
    return (void *)block;
}

void *malloc(size_t size)
{
    return take(16, size);
}

void *calloc(size_t count, size_t size)
{
    return take(16, count * size); /* fresh from the kernel: zero */
}

void *realloc(void *old, size_t size)
{
    void *block = take(16, size);
    if (old && block) {
        size_t kept = *(size_t *)((char *)old - HEADER);
        memcpy(block, old, kept < size ? kept : size);
    }
    return block;
}

void free(void *block)
{
    (void)block;
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    *out = take(alignment, size);
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return take(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return take(alignment, size);
}

size_t malloc_usable_size(void *block)
{
    return block ? *(size_t *)((char *)block - HEADER) : 0;
}
