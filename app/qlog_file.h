/*
 * qlog_file - where --qlog DIR goes: a file for each connection, DIR/ODCID_ROLE.sqlog.
 *
 * A file is made anew, never followed to by a link nor written over, and can be read by its
 * owner only. Records are gathered in memory and written when QLOG_FILE_BUFFER is full, when a
 * record comes QLOG_FILE_FLUSH after the last write, and at the end. A file that can't be
 * written any more, or has reached QLOG_FILE_MAX bytes, is left as it is, which the log is
 * told; the connection goes on. So is one for which there is no file because of the limits of
 * a process: QLOG_FILE_OPEN at a time, QLOG_FILE_COUNT in all.
 *
 * Writing waits for the disk: this is for looking into troubles, not for every day.
 */
#ifndef APP_QLOG_FILE_H
#define APP_QLOG_FILE_H

#include "quic/log.h"
#include "quic/qlog.h"

#define QLOG_FILE_BUFFER 65536
#define QLOG_FILE_FLUSH  NS_PER_S
#define QLOG_FILE_MAX    ((uint64_t)256 << 20)
#define QLOG_FILE_OPEN   256
#define QLOG_FILE_COUNT  10000

struct qlog_dir {
    struct qlog_sink sink; /* for quic_config.qlog; its ctx is this struct, which must stay */
    const char *name;
    const struct log *log;
    int fd;
    uint64_t max; /* bytes of a file; QLOG_FILE_MAX, or less before the first connection */
    unsigned open, count;
    bool told; /* that no more files are made */
};

/*
 * Open the folder `name`, which must be there. `name` and `log` are borrowed. Returns 0 or an exit
 * status (app/exit.h) after telling the log why; there is nothing to close then.
 */
int qlog_dir_open(struct qlog_dir *d, const char *name, const struct log *log);

/* When all connections are gone. A zeroed struct is fine. */
void qlog_dir_close(struct qlog_dir *d);

#endif
