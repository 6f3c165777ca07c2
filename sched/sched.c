#include "sched/sched.h"

#include <string.h>

static const struct sched *const all[] = {&sched_minrtt};

const struct sched *sched_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
