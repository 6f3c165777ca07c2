#include "quic/validate.h"

#include <string.h>

#include "quic/rtt.h"

#define NEW_PATH_PTO (3 * RTT_INITIAL) /* of a path without a sample: smoothed + 4 * half */

void validate_init(struct validate *v)
{
    memset(v, 0, sizeof *v);
    v->next = v->give_up = NS_NEVER;
}

void validate_start(struct validate *v, ns_t pto, ns_t now)
{
    validate_init(v);
    v->state = VALIDATE_PENDING;
    v->pto = pto;
    v->next = now;
    v->give_up = ns_add(now, 3 * ns_max(pto, NEW_PATH_PTO));
}

void validate_cancel(struct validate *v)
{
    validate_init(v);
}

bool validate_due(const struct validate *v, ns_t now)
{
    return v->state == VALIDATE_PENDING && v->next <= now;
}

void validate_challenge(struct validate *v, const struct rng *rng, ns_t now, uint8_t data[8])
{
    unsigned i = v->n;

    if (i >= VALIDATE_MAX)
        return;
    rng_fill(rng, v->data[i], sizeof v->data[i]);
    memcpy(data, v->data[i], sizeof v->data[i]);
    v->sent[i] = now;
    v->n++;
    v->next = v->n < VALIDATE_MAX ? ns_add(now, v->pto << i) : NS_NEVER;
}

void validate_on_lost(struct validate *v, ns_t now)
{
    if (v->state == VALIDATE_PENDING && v->n < VALIDATE_MAX)
        v->next = ns_min(v->next, now);
}

bool validate_on_response(struct validate *v, const uint8_t data[8], ns_t now)
{
    if (v->state != VALIDATE_PENDING)
        return false;
    for (unsigned i = 0; i < v->n; i++) {
        if (memcmp(v->data[i], data, sizeof v->data[i]) != 0)
            continue;
        v->state = VALIDATE_DONE;
        v->rtt = ns_sub(now, v->sent[i]);
        v->next = v->give_up = NS_NEVER;
        return true;
    }
    return false;
}

ns_t validate_deadline(const struct validate *v)
{
    return v->state == VALIDATE_PENDING ? ns_min(v->next, v->give_up) : NS_NEVER;
}

bool validate_tick(struct validate *v, ns_t now)
{
    if (v->state != VALIDATE_PENDING || now < v->give_up)
        return false;
    v->state = VALIDATE_FAILED;
    v->next = v->give_up = NS_NEVER;
    return true;
}
