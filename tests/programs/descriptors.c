/* Prints the numbers of its open descriptors, as they are when main starts. */
#include <fcntl.h>
#include "say.h"

int main(void)
{
    for (int fd = 0; fd < 70000; fd++)
        if (fcntl(fd, F_GETFD) != -1)
            say("%d ", fd);
    say("\n");
    return 0;
}
