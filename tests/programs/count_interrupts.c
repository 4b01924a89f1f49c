/* Answers each SIGINT with a line that says who sent it; ends when it reads a line. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "say.h"

static volatile sig_atomic_t interrupts;

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    interrupts++;
    say("interrupt %d from %s\n", (int)interrupts, info->si_code == SI_KERNEL ? "the terminal" : "a process");
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    char byte;
    sigaction(SIGINT, &action, NULL);
    free(malloc(100));
    say("ready\n");
    while (read(0, &byte, 1) == 1 && byte != '\n')
        ;
    say("%d interrupts\n", (int)interrupts);
    return 9;
}
