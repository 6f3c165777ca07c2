#include "mp/paths.h"

struct step {
    enum mp_state next;
    unsigned todo;
};

/* MP_NONE as the next state: the event has no meaning. */
/* clang-format off */
static const struct step steps[MP_STATES][MP_EVENTS] = {
    [MP_AHEAD] = {
        [MP_EV_OPENED]    = {MP_OPENING, 0},
        [MP_EV_ABANDON]   = {MP_LEAVING, MP_DO_SAY | MP_DO_STOP},
        [MP_EV_ABANDONED] = {MP_LEFT, MP_DO_SAY | MP_DO_STOP | MP_DO_KEEP},
    },
    [MP_OPENING] = {
        [MP_EV_PROVEN]    = {MP_OPEN, 0},
        [MP_EV_FAILED]    = {MP_LEAVING, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE},
        [MP_EV_ABANDON]   = {MP_LEAVING, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE},
        [MP_EV_ABANDONED] = {MP_LEFT, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE | MP_DO_KEEP},
    },
    [MP_OPEN] = {
        [MP_EV_FAILED]    = {MP_LEAVING, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE},
        [MP_EV_ABANDON]   = {MP_LEAVING, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE},
        [MP_EV_ABANDONED] = {MP_LEFT, MP_DO_SAY | MP_DO_STOP | MP_DO_GONE | MP_DO_KEEP},
    },
    [MP_LEAVING] = {
        [MP_EV_ABANDONED] = {MP_LEFT, MP_DO_KEEP},
    },
    [MP_LEFT] = {
        [MP_EV_EXPIRED]   = {MP_OVER, MP_DO_DROP},
    },
};
/* clang-format on */

enum mp_state mp_path_step(enum mp_state state, enum mp_event event, unsigned *todo)
{
    const struct step *s = &steps[state][event];

    *todo = s->todo;
    return s->next == MP_NONE ? state : s->next;
}

bool mp_status_take(struct mp_status *s, uint64_t seq, bool backup)
{
    if (seq < s->next)
        return false;
    s->next = seq + 1;
    s->backup = backup;
    return true;
}
