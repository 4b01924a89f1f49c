/* interrupts COUNT return|jump: a timer's handler allocates, at whatever instruction it comes, and
 * returns, or leaves by a jump. Linked with libsafe.c, whose allocator may be called at any time. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#define ALONE
#include "say.h"
#include "witness.h"

static volatile int handled;
static int jumps;
static sigjmp_buf out;
static volatile sig_atomic_t may_jump;

__attribute__((noinline)) static void in_handler(int depth)
{
    if (depth > 0)
        in_handler(depth - 1);
    touch();
}

static void on_timer(int signal)
{
    (void)signal;
    handled++;
    in_handler(handled % 6);
    if (jumps && may_jump) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

__attribute__((noinline)) static void descend(int depth)
{
    volatile char room[48];
    room[0] = (char)depth;
    if (depth % 2)
        touch();
    if (depth > 0)
        descend(depth - 1);
    touch();
    room[1] = room[0];
}

int main(int argc, char **argv)
{
    static char stack[256 << 10] __attribute__((aligned(16)));
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_ONSTACK};
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    volatile int wanted;
    if (argc != 3 || sigaltstack(&alternate, NULL) || sigaction(SIGALRM, &action, NULL))
        return 1;
    wanted = atoi(argv[1]);
    jumps = !strcmp(argv[2], "jump");
    setitimer(ITIMER_REAL, &often, NULL);
    for (volatile int i = 0; handled < wanted; i++) {
        if (sigsetjmp(out, 1) == 0) {
            may_jump = 1;
            descend(i % 50);
        }
        may_jump = 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < 100; i++)
        descend(i);
    say("handled=%d blocks=%u\n", handled, witness_blocks);
    return 0;
}
