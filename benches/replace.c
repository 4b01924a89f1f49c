/* replace [EVENTS]: one thread replaces random entries of a table.
 *
 * Makes EVENTS / 2 blocks and frees each of them: EVENTS calls in all, none of them free(NULL). */
#include "sizes.h"

#define SLOTS 10000

static char *table[SLOTS];

int main(int argc, char **argv)
{
    long blocks = number(argc, argv, 1, 5000000) / 2;
    uint64_t state = 1;

    for (long i = 0; i < blocks; i++) {
        uint64_t r = next_random(&state);
        char **slot = &table[(r >> 32) % SLOTS];
        if (*slot)
            free(*slot);
        *slot = new_block(r);
    }
    for (int i = 0; i < SLOTS; i++)
        if (table[i])
            free(table[i]);
    return 0;
}
