/* Says what it sees of its terminal. */
#include <sys/ioctl.h>
#include "say.h"

int main(void)
{
    struct winsize size;
    say("terminal 0=%d 1=%d 2=%d foreground=%d size=%d\n", isatty(0), isatty(1), isatty(2),
        tcgetpgrp(0) == getpgrp(), ioctl(0, TIOCGWINSZ, &size) == 0);
    return 0;
}
