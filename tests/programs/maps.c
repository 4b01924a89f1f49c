/* Maps memory from the kernel, grows it, gives it back. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include "say.h"

__attribute__((noinline)) static void *map_pages(void)
{
    void *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("mapped=%p ", block);
    return block;
}

__attribute__((noinline)) static void *map_more(void *block)
{
    block = mremap(block, 1 << 20, 4 << 20, MREMAP_MAYMOVE);
    say("grown=%p\n", block);
    return block;
}

__attribute__((noinline)) static void map_none(void *block)
{
    munmap(block, 4 << 20);
}

int main(void)
{
    map_none(map_more(map_pages()));
    return 0;
}
