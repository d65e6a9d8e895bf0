/* Names of unix sockets: a path, or abstract when it begins with '@'. */
#include "guest.h"
#include <sys/un.h>
static inline socklen_t un_name(struct sockaddr_un *u, const char *name)
{
	memset(u, 0, sizeof *u);
	u->sun_family = AF_UNIX;
	strcpy(u->sun_path, name);
	if (name[0] != '@')
		return sizeof *u;
	u->sun_path[0] = 0;
	return offsetof(struct sockaddr_un, sun_path) + strlen(name);
}
static inline void un_bind(int fd, const char *name)
{
	struct sockaddr_un u;
	socklen_t n = un_name(&u, name);
	OK(bind(fd, (void *)&u, n));
}
static inline int un_connect(int fd, const char *name)
{
	struct sockaddr_un u;
	socklen_t n = un_name(&u, name);
	return connect(fd, (void *)&u, n);
}
