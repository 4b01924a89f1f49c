/* Threads that allocate, and a main thread that forks meanwhile: the child goes on from the stack of
 * which the parent's last one was made. */
#include <pthread.h>
#include <sys/wait.h>
#include "say.h"
#include "witness.h"

static volatile int over;

__attribute__((noinline)) static void descend(int depth, void (*then)(void))
{
    if (depth > 0)
        descend(depth - 1, then);
    else
        then();
    if (depth % 4 == 0)
        touch();
}

static void *work(void *depth)
{
    while (!over)
        descend((int)(long)depth, touch);
    return NULL;
}

static void in_both(void)
{
    touch();
    pid_t child = fork();
    if (child < 0)
        _exit(3);
    touch();
    if (child == 0) {
        descend(7, touch);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        _exit(4);
}

int main(void)
{
    pthread_t threads[3];
    for (long i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(i * 9 + 3)))
            return 1;
    for (int i = 0; i < 30; i++)
        descend(i, in_both);
    over = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    say("forked=30\n");
    return 0;
}
