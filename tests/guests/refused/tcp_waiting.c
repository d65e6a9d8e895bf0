/* A connection that nobody has accepted. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 2), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	OK(connect(c, &a.sa, n));
	checkpoint();
	int s = OK(accept(l, NULL, NULL));
	talk(c, s);
	return pass();
}
