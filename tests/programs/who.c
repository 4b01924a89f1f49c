/* One block on the main thread, one on another; prints who they are. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include "say.h"

__attribute__((noinline)) static void take_on_main(void)
{
    free(malloc(1001));
    say("pid=%d ", getpid());
}

__attribute__((noinline)) static void *take_on_thread(void *unused)
{
    free(malloc(1002));
    say("tid=%d\n", gettid());
    return unused;
}

int main(void)
{
    pthread_t thread;
    take_on_main();
    if (pthread_create(&thread, NULL, take_on_thread, NULL))
        return 1;
    pthread_join(thread, NULL);
    return 0;
}
