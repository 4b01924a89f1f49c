/* Finds out which allocator serves it, by the usable sizes of its blocks: every allocator rounds
 * in its own way. */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include "say.h"

__attribute__((noinline)) static void take_and_tell(void)
{
    void *block = malloc(4714);
    say("block=%p ", block);
    free(block);
}

int main(void)
{
    uint64_t fingerprint = 14695981039346656037ull;
    for (size_t size = 1; size < 5000; size++) {
        void *block = malloc(size);
        fingerprint = (fingerprint ^ malloc_usable_size(block)) * 1099511628211ull;
        free(block);
    }
    take_and_tell();
    say("sizes=%lx\n", (unsigned long)fingerprint);
    return 0;
}
