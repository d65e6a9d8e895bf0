/* A thread that computes without system calls keeps all general registers, flags, x87, MXCSR, SSE, AVX and
 * AVX-512 registers; the gs base is kept too. */
#include "../guest.h"
#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>

struct regs {
	uint64_t gpr[14], flags;
	uint8_t zmm[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	uint16_t fcw;
	long double st[4];
};
static struct regs in, out;
static volatile int spinning, stop;
static bool avx, avx512;

/* Loads, says that it spins, spins until told, stores: the registers live across the checkpoint. */
static void spin(void)
{
	asm volatile("ldmxcsr %0\n fldcw %1" ::"m"(in.mxcsr), "m"(in.fcw));
	asm volatile("fldt %0\n fldt %1\n fldt %2\n fldt %3" ::"m"(in.st[0]), "m"(in.st[1]), "m"(in.st[2]), "m"(in.st[3]));
#define LOAD512(n) asm volatile("vmovdqu64 %0, %%zmm" #n ::"m"(in.zmm[n]));
#define LOAD256(n) asm volatile("vmovdqu %0, %%ymm" #n ::"m"(*(__m256i *)in.zmm[n]));
#define LOAD128(n) asm volatile("movdqu %0, %%xmm" #n ::"m"(*(__m128i *)in.zmm[n]));
#define LOADK(n) asm volatile("kmovq %0, %%k" #n ::"m"(in.k[n]));
#define SAVE512(n) asm volatile("vmovdqu64 %%zmm" #n ", %0" : "=m"(out.zmm[n]));
#define SAVE256(n) asm volatile("vmovdqu %%ymm" #n ", %0" : "=m"(*(__m256i *)out.zmm[n]));
#define SAVE128(n) asm volatile("movdqu %%xmm" #n ", %0" : "=m"(*(__m128i *)out.zmm[n]));
#define SAVEK(n) asm volatile("kmovq %%k" #n ", %0" : "=m"(out.k[n]));
#define LOW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define HIGH(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
	if (avx512) {
		LOW(LOAD512) HIGH(LOAD512) EIGHT(LOADK)
	} else if (avx) {
		LOW(LOAD256)
	} else {
		LOW(LOAD128)
	}
	asm volatile("push %%rbx\n push %%rbp\n lea in(%%rip), %%rax\n"
		     "mov 8(%%rax), %%rbx\n mov 16(%%rax), %%rcx\n mov 24(%%rax), %%rdx\n mov 32(%%rax), %%rsi\n"
		     "mov 40(%%rax), %%rdi\n mov 48(%%rax), %%rbp\n mov 56(%%rax), %%r8\n mov 64(%%rax), %%r9\n"
		     "mov 72(%%rax), %%r10\n mov 80(%%rax), %%r11\n mov 88(%%rax), %%r12\n mov 96(%%rax), %%r13\n"
		     "mov 104(%%rax), %%r14\n mov $0x1122334455667788, %%r15\n mov (%%rax), %%rax\n"
		     "movl $1, spinning(%%rip)\n"
		     "1: cmpl $0, stop(%%rip)\n je 1b\n"
		     "push %%r15\n lea out(%%rip), %%r15\n"
		     "mov %%rax, (%%r15)\n mov %%rbx, 8(%%r15)\n mov %%rcx, 16(%%r15)\n mov %%rdx, 24(%%r15)\n"
		     "mov %%rsi, 32(%%r15)\n mov %%rdi, 40(%%r15)\n mov %%rbp, 48(%%r15)\n mov %%r8, 56(%%r15)\n"
		     "mov %%r9, 64(%%r15)\n mov %%r10, 72(%%r15)\n mov %%r11, 80(%%r15)\n mov %%r12, 88(%%r15)\n"
		     "mov %%r13, 96(%%r15)\n mov %%r14, 104(%%r15)\n pop %%rax\n mov %%rax, 112(%%r15)\n"
		     "pop %%rbp\n pop %%rbx\n" ::
			     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
			       "memory", "cc");
	if (avx512) {
		LOW(SAVE512) HIGH(SAVE512) EIGHT(SAVEK)
	} else if (avx) {
		LOW(SAVE256)
	} else {
		LOW(SAVE128)
	}
	asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(out.mxcsr), "=m"(out.fcw));
	asm volatile("fstpt %3\n fstpt %2\n fstpt %1\n fstpt %0"
		     : "=m"(out.st[0]), "=m"(out.st[1]), "=m"(out.st[2]), "=m"(out.st[3]));
	uint32_t csr = 0x1f80;
	uint16_t cw = 0x37f;
	asm volatile("ldmxcsr %0\n fldcw %1" ::"m"(csr), "m"(cw));
	if (avx)
		asm volatile("vzeroupper");
}
static void *run(void *arg)
{
	unsigned long gs = 0;
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x123456789000UL));
	spin();
	OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	EQ(gs, 0x123456789000UL);
	return arg;
}
int main(void)
{
	avx = __builtin_cpu_supports("avx");
	avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
	fill(in.gpr, sizeof in.gpr, 1);
	fill(in.zmm, sizeof in.zmm, 2);
	fill(in.k, sizeof in.k, 3);
	in.mxcsr = 0x1f80 | 0x6000 | 0x8000; /* round to zero, flush to zero */
	in.fcw = 0x37f & ~0x300;	     /* single precision */
	for (int i = 0; i < 4; i++)
		in.st[i] = 1.5L + i;
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	while (!spinning)
		sched_yield();
	checkpoint();
	stop = 1;
	pthread_join(t, NULL);
	for (int i = 0; i < 14; i++)
		EQ(out.gpr[i], in.gpr[i]);
	EQ(out.flags, 0x1122334455667788);
	int wide = avx512 ? 64 : avx ? 32 : 16;
	for (int i = 0; i < (avx512 ? 32 : 16); i++)
		if (memcmp(in.zmm[i], out.zmm[i], wide))
			FAIL("vector register %d changed (%d bytes compared)", i, wide);
	if (avx512)
		for (int i = 0; i < 8; i++)
			EQ(out.k[i], in.k[i]);
	EQ(out.mxcsr & ~0x3f, in.mxcsr);
	EQ(out.fcw, in.fcw);
	for (int i = 0; i < 4; i++)
		CHECK(in.st[i] == out.st[i]);
	return pass();
}
