/* Allocates in a constructor and in a destructor. */
#include <stdlib.h>

int ran_in_library;
static void *volatile block;

__attribute__((constructor)) static void early_in_library(void)
{
    block = malloc(601);
    free(block);
    ran_in_library = 1;
}

__attribute__((destructor)) static void late_in_library(void)
{
    block = malloc(604);
    free(block);
}
