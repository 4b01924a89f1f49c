/* Calls the allocator through functions that only wrap it: libc's strdup, an own xmalloc. */
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t size)
{
    void *block = malloc(size);
    if (!block)
        abort();
    return block;
}

__attribute__((noinline)) static char *duplicate_name(const char *name)
{
    char *copy = strdup(name);
    copy[0] = '-';
    return copy;
}

__attribute__((noinline)) static void *make_room(void)
{
    void *block = xmalloc(3210);
    memset(block, 1, 3210);
    return block;
}

int main(void)
{
    char name[778]; /* a size that nothing else asks for */
    memset(name, 'x', 777);
    name[777] = 0;
    free(duplicate_name(name));
    free(make_room());
    return 0;
}
