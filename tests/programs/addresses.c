/* Prints the address and usable size of many blocks, small ones and some that stay. */
#include <malloc.h>
#include <stdlib.h>
#include "say.h"

int main(void)
{
    void *kept[400];
    for (int i = 0; i < 400; i++) {
        void *brief = malloc((size_t)(i * 37 % 2000 + 1));
        kept[i] = i % 5 ? malloc((size_t)(i * 53 % 3000 + 1)) : calloc(3, (size_t)(i + 1));
        if (i % 7 == 0)
            kept[i] = realloc(kept[i], 5000);
        say("%p %zu %p %zu\n", brief, malloc_usable_size(brief), kept[i], malloc_usable_size(kept[i]));
        free(brief);
        if (i % 3 == 0) {
            free(kept[i / 2]);
            kept[i / 2] = NULL;
        }
    }
    return 0;
}
