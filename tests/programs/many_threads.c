/* Threads start and end by the thousand: some hundred at a time, each with one block whose size
 * is its number. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include "say.h"

enum { ROUNDS = 15, AT_ONCE = 200 };

__attribute__((noinline)) static void *take_number(size_t number)
{
    void *block = malloc(number);
    return block;
}

__attribute__((noinline)) static void give_number(void *block)
{
    free(block);
}

static pthread_barrier_t all_here;

static void *work(void *number)
{
    void *block = take_number((uintptr_t)number);
    pthread_barrier_wait(&all_here); /* all of a round are alive at once */
    give_number(block);
    return NULL;
}

int main(void)
{
    static pthread_t thread[AT_ONCE];
    pthread_attr_t small;
    uintptr_t number = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    pthread_barrier_init(&all_here, NULL, AT_ONCE);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++)
            if (pthread_create(&thread[i], &small, work, (void *)++number))
                return 1;
        for (int i = 0; i < AT_ONCE; i++)
            pthread_join(thread[i], NULL);
    }
    say("threads=%lu\n", (unsigned long)number);
    return 0;
}
