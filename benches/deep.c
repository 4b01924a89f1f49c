/* deep [EVENTS [DEPTH]]: as replace, but each block changes under a recursion of about DEPTH (38)
 * frames, which winds through eight functions of different frame sizes.
 *
 * A walk goes down to its end, replaces blocks there, climbs back a few frames and goes down another
 * way: so a few frames differ from one event's stack to the next, as in a compiler or an interpreter.
 * A thousand walks are repeated, so that the number of distinct stacks is that of a large program. */
#include "sizes.h"

#define SLOTS 10000
#define WALKS 1000

static char *table[SLOTS];
static uint64_t state = 1;
static long events_left;

typedef long step_function(int depth, uint64_t way);
static step_function step0, step1, step2, step3, step4, step5, step6, step7;

static __attribute__((noinline)) long replace_some(uint64_t way)
{
    long changed = 0;
    for (int i = 0; i < 4 && events_left > 0; i++) {
        uint64_t r = next_random(&state);
        char **slot = &table[(r >> 32) % SLOTS];
        if (*slot) {
            free(*slot);
            events_left--;
        }
        /* Four sizes for each way: a stack that has every size there is would be a rare one. */
        uint64_t kind = way + (r & 3);
        *slot = new_block(next_random(&kind));
        events_left--;
        changed++;
    }
    return changed;
}

/* A frame of WORDS words, that calls one of four others, and now and then a second one. */
#define STEP(name, WORDS, a, b, c, d)                                                            \
    static __attribute__((noinline)) long name(int depth, uint64_t way)                          \
    {                                                                                            \
        static step_function *const next[4] = {a, b, c, d};                                      \
        volatile uint64_t frame[WORDS];                                                          \
        uint64_t here = way + (uint64_t)depth;                                                   \
        uint64_t turn = next_random(&here);                                                      \
        long changed;                                                                            \
        frame[0] = turn;                                                                         \
        if (depth <= 0)                                                                          \
            return replace_some(turn) + (long)(frame[0] & 0);                                    \
        changed = next[turn & 3](depth - 1, way);                                                \
        /* Another branch close to the end: most of the stack stays. */                          \
        if (depth <= 3)                                                                          \
            changed += next[(turn >> 2) & 3](depth - 1, ~way);                                   \
        return changed + (long)(frame[0] & 0);                                                   \
    }

STEP(step0, 3, step1, step2, step3, step5)
STEP(step1, 8, step2, step3, step4, step6)
STEP(step2, 5, step3, step4, step5, step7)
STEP(step3, 12, step4, step5, step6, step0)
STEP(step4, 2, step5, step6, step7, step1)
STEP(step5, 9, step6, step7, step0, step2)
STEP(step6, 4, step7, step0, step1, step3)
STEP(step7, 6, step0, step1, step2, step4)

int main(int argc, char **argv)
{
    long depth = number(argc, argv, 2, 38);
    uint64_t walk = 7;
    long changed = 0;

    events_left = number(argc, argv, 1, 5000000);
    while (events_left > 0) {
        uint64_t which = next_random(&walk) % WALKS;
        changed += step0((int)depth, which * 0x9e3779b97f4a7c15u);
    }
    for (int i = 0; i < SLOTS; i++)
        free(table[i]);
    return changed > 0 ? 0 : 1;
}
