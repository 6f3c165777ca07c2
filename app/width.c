#include "app/width.h"

void width_begin(struct width *w)
{
    w->least = w->most = 0;
    w->rank = UINT32_MAX;
}

void width_path(struct width *w, size_t bytes, unsigned rank)
{
    if (rank > w->rank)
        return;
    if (rank < w->rank)
        width_begin(w);
    w->rank = rank;
    if (bytes >= WIDTH_MIN && (w->least == 0 || bytes < w->least))
        w->least = bytes;
    if (bytes > w->most)
        w->most = bytes;
}

bool width_look(struct width *w, ns_t now)
{
    size_t wanted = w->least ? w->least : w->most;

    w->look_at = NS_NEVER;
    if (wanted == 0 || (w->mtu && w->rank >= WIDTH_DEAF)) {
        w->wanted = 0;
        return false;
    }
    if (wanted < WIDTH_MIN && w->mtu >= WIDTH_MIN)
        wanted = WIDTH_MIN;
    if (wanted != w->wanted) {
        w->wanted = wanted;
        w->since = now;
    }
    if (wanted == w->mtu)
        return false;
    if (w->mtu >= WIDTH_MIN && w->mtu <= w->most && now - w->since < WIDTH_SETTLE) {
        w->look_at = w->since + WIDTH_SETTLE;
        return false;
    }
    w->mtu = wanted;
    return true;
}
