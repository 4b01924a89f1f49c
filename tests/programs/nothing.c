/* Never allocates, and neither does anything that it is linked with. */
int main(void)
{
    return 0;
}
