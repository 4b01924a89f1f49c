/* A thread allocates without pause while another hits it with signals, whose handler maps and
 * unmaps memory. mmap is a bare system call, so this is allowed at any instruction, also in the
 * middle of malloc; with --mmap the hook is then interrupted by itself. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "say.h"

static atomic_long maps;
static atomic_int started, over;
static pthread_t target;

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

static void *sender(void *unused)
{
    while (!started)
        ;
    for (int i = 0; i < 2000; i++) {
        pthread_kill(target, SIGUSR1);
        while (maps == i) /* signals that are not waited for would melt into one */
            sched_yield();
        for (volatile int pause = 0; pause < i % 700; pause++)
            ;
    }
    over = 1;
    return unused;
}

__attribute__((noinline)) static void take(long i)
{
    free(malloc(1 + i % 500));
}

int main(void)
{
    pthread_t sending;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    long mallocs = 0;
    sigaction(SIGUSR1, &action, NULL);
    target = pthread_self();
    if (pthread_create(&sending, NULL, sender, NULL))
        return 1;
    started = 1;
    for (; !over; mallocs++)
        take(mallocs);
    pthread_join(sending, NULL);
    say("maps=%ld mallocs=%ld\n", (long)maps, mallocs);
    return 0;
}
