#include <stddef.h>
#include <libmnl/libmnl.h>

int main(void)
{
    char buf[256];
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
    mnl_attr_put_u32(nlh, 1, 7);
    return nlh->nlmsg_len == MNL_NLMSG_HDRLEN + 8 && &mnl_socket_open2 ? 0 : 1;
}
