#include <string.h>
#include <ini.h>

static int handle(void *user, const char *section, const char *name, const char *value)
{
    *(int *)user += !strcmp(section, "a") && !strcmp(name, "b") && !strcmp(value, "c");
    return 1;
}

int main(void)
{
    int seen = 0;
    return ini_parse_string("[a]\nb = c\n", handle, &seen) == 0 && seen == 1 ? 0 : 1;
}
