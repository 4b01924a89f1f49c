/* A library with one function, whose frame has ROOM bytes; all else, its length too, is the same
 * for each ROOM. */
void framed_call(int depth, void (*function)(void), void (*again)(int))
{
    volatile char room[ROOM];
    room[0] = (char)depth;
    if (depth > 0)
        again(depth - 1);
    function();
    room[1] = room[0];
}
