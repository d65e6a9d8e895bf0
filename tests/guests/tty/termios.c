/* Termios in full: speeds of any number of baud, all control characters, locked bits, a number of a line discipline. */
#include "../guest.h"
#include <asm/termbits.h>
#ifndef TIOCGLCKTRMIOS
#define TIOCGLCKTRMIOS 0x5456
#define TIOCSLCKTRMIOS 0x5457
#endif
static int pair(int *s)
{
	int m = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY)), n;
	OK(ioctl(m, TIOCSPTLCK, (int[]){ 0 }));
	OK(ioctl(m, TIOCGPTN, &n));
	char path[32];
	snprintf(path, sizeof path, "/dev/pts/%d", n);
	*s = OK(open(path, O_RDWR | O_NOCTTY));
	return m;
}
int main(void)
{
	int s[4], m[4];
	struct termios2 t[4], now_;
	for (int i = 0; i < 4; i++) {
		m[i] = pair(&s[i]);
		OK(ioctl(s[i], TCGETS2, &t[i]));
	}
	t[0].c_cflag = (t[0].c_cflag & ~(CBAUD | CBAUD << IBSHIFT)) | BOTHER | BOTHER << IBSHIFT;
	t[0].c_ospeed = 123456;
	t[0].c_ispeed = 7777;
	for (int i = 0; i < 19; i++)
		t[1].c_cc[i] = 0x40 + i;
	t[1].c_iflag = IGNBRK | INPCK | ISTRIP | INLCR | IUCLC | IXANY | IMAXBEL | IUTF8;
	t[1].c_oflag = OPOST | OLCUC | ONLRET | OFILL | TAB3 | VT1 | FF1;
	t[1].c_cflag = (t[1].c_cflag & ~CSIZE) | CS7 | CSTOPB | PARENB | PARODD | HUPCL | CLOCAL | CMSPAR | CRTSCTS;
	t[1].c_lflag = ISIG | ECHOPRT | TOSTOP | FLUSHO | XCASE | ECHOCTL | ECHOKE;
	t[2].c_line = 5;
	for (int i = 0; i < 3; i++) {
		OK(ioctl(s[i], TCSETS2, &t[i]));
		OK(ioctl(s[i], TCGETS2, &t[i]));
	}
	struct termios lock = { .c_iflag = ICRNL, .c_lflag = ICANON | ECHO, .c_cc = { [3] = 1 } }, locked;
	OK(ioctl(s[3], TIOCSLCKTRMIOS, &lock));
	EQ(write(m[3], "kept\npart", 9), 9);
	struct pollfd p = { s[3], POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	checkpoint();
	for (int i = 0; i < 3; i++) {
		OK(ioctl(s[i], TCGETS2, &now_));
		EQ(now_.c_iflag, t[i].c_iflag);
		EQ(now_.c_oflag, t[i].c_oflag);
		EQ(now_.c_cflag, t[i].c_cflag);
		EQ(now_.c_lflag, t[i].c_lflag);
		EQ(now_.c_line, t[i].c_line);
		EQ(now_.c_ispeed, t[i].c_ispeed);
		EQ(now_.c_ospeed, t[i].c_ospeed);
		CHECK(!memcmp(now_.c_cc, t[i].c_cc, sizeof now_.c_cc));
	}
	OK(ioctl(s[3], TIOCGLCKTRMIOS, &locked));
	EQ(locked.c_iflag, lock.c_iflag);
	EQ(locked.c_lflag, lock.c_lflag);
	EQ(locked.c_cc[3], 1);
	char text[32] = "";
	EQ(read(s[3], text, 31), 5);
	STR_EQ(text, "kept\n");
	EQ(write(m[3], "ial\n", 4), 4);
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(s[3], text, 31), 8);
	CHECK(!memcmp(text, "partial\n", 8));
	return pass();
}
