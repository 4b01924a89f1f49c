/* free_sized and free_aligned_sized as a C library would provide them; linked before libc. */
#include <stdlib.h>

extern void __libc_free(void *);

void free_sized(void *block, size_t size)
{
    (void)size;
    __libc_free(block);
}

void free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    __libc_free(block);
}
