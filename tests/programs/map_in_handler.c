/* Allocates without pause while a timer interrupts it, whose handler maps and unmaps memory. mmap
 * is a bare system call, so this is allowed at any instruction, also in the middle of malloc; with
 * --mmap the hook is then interrupted by itself. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include "say.h"

static volatile sig_atomic_t maps;

__attribute__((noinline)) static void map_in_handler(void)
{
    void *block = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(block, 4096);
    maps++;
}

static void handler(int signal)
{
    (void)signal;
    map_in_handler();
}

__attribute__((noinline)) static void take(long i)
{
    free(malloc(1 + i % 500));
}

int main(void)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval once = {{0}};
    long mallocs = 0, armed = -1;
    sigaction(SIGALRM, &action, NULL);
    while (maps < 1000 || mallocs < 100000) {
        /* One signal at a time: more than the handler can take would leave no time for malloc. */
        if (armed != maps) {
            armed = maps;
            once.it_value.tv_usec = 20 + armed % 50;
            setitimer(ITIMER_REAL, &once, NULL);
        }
        take(mallocs++);
    }
    while (armed == maps) /* the last one must not come after the count is printed */
        ;
    say("maps=%d mallocs=%ld\n", (int)maps, mallocs);
    return 0;
}
