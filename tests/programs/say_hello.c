/* Says hello. */
#include "say.h"

int main(void)
{
    say("hello\n");
    return 0;
}
