/* longjmp out of deep stacks, and out of handlers that were raised there. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include "say.h"
#include "witness.h"

static sigjmp_buf out;
static int jumped;

static void on_signal(int signal)
{
    (void)signal;
    touch();
    siglongjmp(out, 2);
}

__attribute__((noinline)) static void descend(int depth, int how)
{
    volatile char room[32];
    room[0] = (char)depth;
    if (depth % 5 == 0)
        touch();
    if (depth > 0)
        descend(depth - 1, how);
    else if (how == 0)
        siglongjmp(out, 1);
    else
        raise(how);
    touch(); /* not reached */
    room[1] = room[0];
}

__attribute__((noinline)) static void once(int depth, int how)
{
    if (sigsetjmp(out, 1) == 0)
        descend(depth, how);
    jumped++;
    touch();
}

int main(void)
{
    static char stack[64 << 10] __attribute__((aligned(16)));
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    const int ways[] = {0, SIGUSR1, SIGUSR2};
    witness_open();
    if (sigaltstack(&alternate, NULL) || sigaction(SIGUSR1, &action, NULL))
        return 1;
    action.sa_flags = 0;
    if (sigaction(SIGUSR2, &action, NULL))
        return 1;
    for (int i = 0; i < 300; i++)
        once(i % 90, ways[i % 3]);
    say("jumped=%d\n", jumped);
    return jumped != 300;
}
