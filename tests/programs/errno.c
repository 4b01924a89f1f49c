/* A successful call of the allocator leaves errno alone; a failed one sets ENOMEM. Enough calls
 * to fill chunks and to make the hook wait. */
#include <errno.h>
#include <stdlib.h>
#include "say.h"

static volatile size_t too_much = (size_t)1 << 62;

int main(void)
{
    int after_malloc = 7, after_free = 7, failed;
    for (int i = 0; i < 100000; i++) {
        errno = 7;
        void *block = malloc(100);
        if (errno != 7)
            after_malloc = errno;
        errno = 7;
        free(block);
        if (errno != 7)
            after_free = errno;
    }
    errno = 0;
    if (malloc(too_much))
        return 1;
    failed = errno;
    say("malloc=%d free=%d failed=%d\n", after_malloc, after_free, failed);
    return 0;
}
