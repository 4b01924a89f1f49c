/* deep DEPTH STEP: recursion, a block each STEP frames, on the way down and on the way back, on a
 * thread with a stack that is large enough. */
#include <pthread.h>
#include "say.h"
#include "witness.h"

static int deepest, step;

__attribute__((noinline)) static int descend(int depth)
{
    int result = depth;
    if (depth % step == 0)
        touch();
    if (depth < deepest)
        result += descend(depth + 1);
    if (depth % step == 0)
        touch();
    return result;
}

static void *work(void *unused)
{
    say("sum=%d\n", descend(1));
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    pthread_attr_t large;
    if (argc != 3)
        return 1;
    deepest = atoi(argv[1]);
    step = atoi(argv[2]);
    witness_open();
    pthread_attr_init(&large);
    pthread_attr_setstacksize(&large, 64 << 20);
    if (pthread_create(&thread, &large, work, NULL))
        return 2;
    pthread_join(thread, NULL);
    return 0;
}
