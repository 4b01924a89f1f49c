/* killed SEED: allocates N bytes and then prints N, for N from 1 on, until another thread kills the
 * whole process at a moment that depends on SEED and chance. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "say.h"

static atomic_long done;
static long last;

__attribute__((noinline)) static void *take(size_t size)
{
    void *volatile block = malloc(size);
    return block;
}

static void *killer(void *unused)
{
    while (done < last)
        ;
    kill(getpid(), SIGKILL);
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    long seed = argc > 1 ? atol(argv[1]) : 1;
    last = seed * seed * 7; /* from a handful of events to more than a chunk holds */
    if (pthread_create(&thread, NULL, killer, NULL))
        return 1;
    for (long n = 1;; n++) {
        take((size_t)n);
        say("%ld\n", n);
        done = n;
    }
}
