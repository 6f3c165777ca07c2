#include "sched/sched.h"

#include <string.h>

static const struct sched *const all[] = {
    &sched_auto, &sched_minrtt, &sched_wlb, &sched_wlb_udp_pin, &sched_backup, &sched_redundant,
};

const struct sched *sched_at(size_t i)
{
    return i < ARRAY_LEN(all) ? all[i] : NULL;
}

const struct sched *sched_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
