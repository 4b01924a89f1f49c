/* handlers COUNT: handlers that allocate, on a stack of their own and on the interrupted one, raised
 * from deep stacks, also while another handler runs. */
#define _GNU_SOURCE
#include <signal.h>
#include "say.h"
#include "witness.h"

static volatile int handled;

__attribute__((noinline)) static void in_handler(int depth, int then)
{
    if (depth > 0)
        in_handler(depth - 1, then);
    else {
        touch();
        if (then)
            raise(then);
    }
    touch();
}

static void on_own_stack(int signal)
{
    (void)signal;
    handled++;
    /* The other one comes on top, on the same alternate stack. */
    in_handler(handled % 5, handled % 3 ? 0 : SIGUSR2);
}

static void on_same_stack(int signal)
{
    (void)signal;
    handled++;
    in_handler(handled % 4, 0);
}

__attribute__((noinline)) static void descend(int depth, int signal)
{
    volatile char room[64];
    room[0] = (char)depth;
    if (depth > 0)
        descend(depth - 1, signal);
    else {
        touch();
        raise(signal);
        touch();
    }
    if (depth % 8 == 0)
        touch();
    room[1] = room[0];
}

int main(int argc, char **argv)
{
    static char stack[256 << 10] __attribute__((aligned(16)));
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_own_stack, .sa_flags = SA_ONSTACK};
    witness_open();
    if (argc != 2 || sigaltstack(&alternate, NULL) || sigaction(SIGUSR1, &action, NULL))
        return 1;
    action.sa_handler = on_same_stack;
    action.sa_flags = 0;
    if (sigaction(SIGUSR2, &action, NULL))
        return 1;
    for (int i = 0; i < atoi(argv[1]); i++)
        descend(i % 37, i % 2 ? SIGUSR1 : SIGUSR2);
    say("handled=%d\n", handled);
    return 0;
}
