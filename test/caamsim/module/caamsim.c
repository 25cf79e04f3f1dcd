// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for NXP's CAAM: gcm(aes) under the name and with the flags of its
 * driver, computed by the kernel's software and completed later, by one thread,
 * in order or not, with errors or without, or not at all. See README.md.
 */

#include <crypto/aes.h>
#include <crypto/gcm.h>
#include <crypto/internal/aead.h>
#include <crypto/scatterwalk.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/wait.h>

/* A request on its way, in the context of its aead_request. */
struct job {
	struct list_head node; /* in ring.jobs or ring.backlog */
	struct aead_request *req;
	ktime_t due;
	bool decrypt, fail, corrupt;
	struct aead_request inner; /* last: its own context follows */
};

struct transform {
	struct crypto_aead *inner;
	ktime_t last; /* when its latest job is due */
};

/* Which request goes wrong: the in-th from now, once, and each every-th. */
struct fault {
	unsigned int in, every, seen;
	unsigned long struck;
};

static struct {
	spinlock_t lock; /* all below; completions run without it */
	struct list_head jobs; /* by due */
	struct list_head backlog; /* by arrival; empty while there is room */
	unsigned int used; /* slots, of jobs and of the one that is computed */
	ktime_t last; /* when the latest job is due */
	bool changed; /* the thread has to look again */
	unsigned long requests, completed, backlogged, refused;
	struct fault fail, corrupt;
	wait_queue_head_t wait;
	struct task_struct *thread;
} ring = {
	.lock = __SPIN_LOCK_UNLOCKED(ring.lock),
	.jobs = LIST_HEAD_INIT(ring.jobs),
	.backlog = LIST_HEAD_INIT(ring.backlog),
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(ring.wait),
};

static unsigned int delay_us = 50;
module_param(delay_us, uint, 0644);
MODULE_PARM_DESC(delay_us, "mean time from a request to its completion, in microseconds, of 4 seconds at most");

static unsigned int depth = 512;
module_param(depth, uint, 0644);
MODULE_PARM_DESC(depth, "requests the job ring holds; 0 counts as 1");

module_param_named(fail_in, ring.fail.in, uint, 0644);
MODULE_PARM_DESC(fail_in, "the request so many from now fails, once");
module_param_named(fail_every, ring.fail.every, uint, 0644);
MODULE_PARM_DESC(fail_every, "each so manieth request fails");

static unsigned int fail_errno = EIO;
module_param(fail_errno, uint, 0644);
MODULE_PARM_DESC(fail_errno, "what they fail with, a positive number");

module_param_named(corrupt_in, ring.corrupt.in, uint, 0644);
MODULE_PARM_DESC(corrupt_in, "the encryption so many from now succeeds with a bit flipped, once");
module_param_named(corrupt_every, ring.corrupt.every, uint, 0644);
MODULE_PARM_DESC(corrupt_every, "each so manieth encryption does");

/* A parameter that is one of a few words. */
struct choice {
	const char *const *words;
	size_t n;
	unsigned int chosen;
};

static int choice_set(const char *val, const struct kernel_param *kp)
{
	struct choice *c = kp->arg;
	int i = __sysfs_match_string(c->words, c->n, val);

	if (i < 0)
		return i;
	WRITE_ONCE(c->chosen, i);
	return 0;
}

static int choice_get(char *buf, const struct kernel_param *kp)
{
	const struct choice *c = kp->arg;

	return sysfs_emit(buf, "%s\n", c->words[c->chosen]);
}

static const struct kernel_param_ops choice_ops = {
	.set = choice_set,
	.get = choice_get,
};

enum { FIXED, UNIFORM, EXPONENTIAL };
static const char *const distributions[] = { "fixed", "uniform", "exponential" };
static struct choice distribution = { distributions, ARRAY_SIZE(distributions) };
module_param_cb(distribution, &choice_ops, &distribution, 0644);
MODULE_PARM_DESC(distribution, "of the delay: fixed, uniform (up to twice the mean) or exponential");

enum { FIFO, TRANSFORM, ANY };
static const char *const orders[] = { "fifo", "transform", "any" };
static struct choice order = { orders, ARRAY_SIZE(orders) };
module_param_cb(order, &choice_ops, &order, 0644);
MODULE_PARM_DESC(order, "of completions: fifo, transform (within one only) or any");

static bool stall;

static void wake(void)
{
	WRITE_ONCE(ring.changed, true);
	wake_up(&ring.wait);
}

static int stall_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_bool(val, kp);

	wake();
	return err;
}

static const struct kernel_param_ops stall_ops = {
	.set = stall_set,
	.get = param_get_bool,
};
module_param_cb(stall, &stall_ops, &stall, 0644);
MODULE_PARM_DESC(stall, "complete nothing until this is off again");

static int stats_set(const char *val, const struct kernel_param *kp)
{
	return -EPERM;
}

static int stats_get(char *buf, const struct kernel_param *kp)
{
	int n;

	spin_lock_bh(&ring.lock);
	n = sysfs_emit(buf,
		       "requests %lu\ncompleted %lu\nin_flight %lu\nbacklogged %lu\nrefused %lu\nfailed %lu\ncorrupted %lu\n",
		       ring.requests, ring.completed, ring.requests - ring.completed,
		       ring.backlogged, ring.refused, ring.fail.struck, ring.corrupt.struck);
	spin_unlock_bh(&ring.lock);
	return n;
}

static const struct kernel_param_ops stats_ops = {
	.set = stats_set,
	.get = stats_get,
};
module_param_cb(stats, &stats_ops, NULL, 0444);
MODULE_PARM_DESC(stats, "requests since the module was loaded, those of the self-test too");

/* strikes tells whether a fault strikes the request at hand. */
static bool strikes(struct fault *f)
{
	bool now = f->every && ++f->seen % f->every == 0;

	if (f->in && --f->in == 0)
		now = true;
	f->struck += now;
	return now;
}

/* draw returns a delay in nanoseconds. */
static u64 draw(void)
{
	u64 mean = min(READ_ONCE(delay_us), 4000000U) * 1000ULL;
	u32 r = get_random_u32() | 1;
	u32 log = ilog2(r), fraction = r << (31 - log) << 1;
	u32 x;

	switch (READ_ONCE(distribution.chosen)) {
	case UNIFORM:
		return (mean * r) >> 31;
	case EXPONENTIAL:
		/*
		 * 32 less the binary logarithm of r, made of straight lines
		 * between powers of two; its mean is then 3/2. 16 binary places.
		 */
		x = ((32 - log) << 16) - (fraction >> 16);
		return div_u64(mean * 2 * x, 3 << 16);
	}
	return mean;
}

/* enqueue puts a job into the ring, before those that are due later. */
static void enqueue(struct job *job)
{
	struct transform *t = crypto_aead_ctx(crypto_aead_reqtfm(job->req));
	struct list_head *before;

	job->due = ktime_add_ns(ktime_get(), draw());
	switch (READ_ONCE(order.chosen)) {
	case FIFO:
		job->due = max(job->due, ring.last);
		break;
	case TRANSFORM:
		job->due = max(job->due, t->last);
		break;
	}
	ring.last = max(job->due, ring.last);
	t->last = max(job->due, t->last);

	list_for_each_prev(before, &ring.jobs)
		if (list_entry(before, struct job, node)->due <= job->due)
			break;
	list_add(&job->node, before);
	ring.used++;
}

static bool room(void)
{
	return ring.used < max(READ_ONCE(depth), 1U);
}

static int submit(struct aead_request *req, bool decrypt)
{
	struct transform *t = crypto_aead_ctx(crypto_aead_reqtfm(req));
	struct job *job = aead_request_ctx(req);
	int err = -EINPROGRESS;

	job->req = req;
	job->decrypt = decrypt;
	aead_request_set_tfm(&job->inner, t->inner);
	aead_request_set_callback(&job->inner, CRYPTO_TFM_REQ_MAY_SLEEP, NULL, NULL);
	aead_request_set_crypt(&job->inner, req->src, req->dst, req->cryptlen, req->iv);
	aead_request_set_ad(&job->inner, req->assoclen);

	spin_lock_bh(&ring.lock);
	if (room() && list_empty(&ring.backlog)) {
		enqueue(job);
	} else if (aead_request_flags(req) & CRYPTO_TFM_REQ_MAY_BACKLOG) {
		list_add_tail(&job->node, &ring.backlog);
		ring.backlogged++;
		err = -EBUSY;
	} else {
		ring.refused++;
		err = -ENOSPC;
	}
	if (err != -ENOSPC) {
		ring.requests++;
		job->fail = strikes(&ring.fail);
		job->corrupt = !decrypt && strikes(&ring.corrupt);
	}
	spin_unlock_bh(&ring.lock);
	wake();
	return err;
}

static int gcm_encrypt(struct aead_request *req)
{
	return submit(req, false);
}

static int gcm_decrypt(struct aead_request *req)
{
	return submit(req, true);
}

/* flip changes the first bit behind the associated data. */
static void flip(struct aead_request *req)
{
	u8 byte;

	scatterwalk_map_and_copy(&byte, req->dst, req->assoclen, 1, 0);
	byte ^= 1;
	scatterwalk_map_and_copy(&byte, req->dst, req->assoclen, 1, 1);
}

/* promote takes a request out of the backlog if there is room for it. */
static struct job *promote(void)
{
	struct job *job = NULL;

	spin_lock_bh(&ring.lock);
	if (room())
		job = list_first_entry_or_null(&ring.backlog, struct job, node);
	if (job) {
		list_del(&job->node);
		enqueue(job);
	}
	spin_unlock_bh(&ring.lock);
	return job;
}

/* run computes a job and tells its owner, and those there is room for now. */
static void run(struct job *job)
{
	struct job *promoted;
	int err;

	if (job->fail)
		err = -(int)READ_ONCE(fail_errno);
	else if (job->decrypt)
		err = crypto_aead_decrypt(&job->inner);
	else
		err = crypto_aead_encrypt(&job->inner);
	if (!err && job->corrupt)
		flip(job->req);

	spin_lock_bh(&ring.lock);
	ring.used--;
	ring.completed++;
	spin_unlock_bh(&ring.lock);

	/* As from a tasklet. This thread alone completes, so -EINPROGRESS comes first. */
	local_bh_disable();
	while ((promoted = promote()))
		aead_request_complete(promoted->req, -EINPROGRESS);
	aead_request_complete(job->req, err);
	local_bh_enable();
}

/* take returns a job that is due, or NULL and how long there is none. */
static struct job *take(ktime_t *left)
{
	bool stop = kthread_should_stop();
	struct job *job;

	*left = KTIME_MAX;
	spin_lock_bh(&ring.lock);
	WRITE_ONCE(ring.changed, false);
	job = list_first_entry_or_null(&ring.jobs, struct job, node);
	if (job && READ_ONCE(stall) && !stop)
		job = NULL;
	if (job) {
		*left = ktime_sub(job->due, ktime_get());
		if (*left > 0 && !stop)
			job = NULL;
		else
			list_del(&job->node);
	}
	spin_unlock_bh(&ring.lock);
	return job;
}

/* wanted tells whether the thread has to look again before the next job is due. */
static bool wanted(void)
{
	return READ_ONCE(ring.changed) || kthread_should_stop();
}

/* engine is the thread. Before it stops it completes whatever is left. */
static int engine(void *unused)
{
	for (;;) {
		ktime_t left;
		struct job *job = take(&left);

		if (job)
			run(job);
		else if (!kthread_should_stop())
			wait_event_interruptible_hrtimeout(ring.wait, wanted(), left);
		else
			break;
		cond_resched();
	}
	return 0;
}

static int gcm_init(struct crypto_aead *tfm)
{
	struct transform *t = crypto_aead_ctx(tfm);

	/* The mask leaves ourselves out. */
	t->inner = crypto_alloc_aead("gcm(aes)", 0, CRYPTO_ALG_ASYNC);
	if (IS_ERR(t->inner))
		return PTR_ERR(t->inner);
	t->last = 0;
	crypto_aead_set_reqsize(tfm, sizeof(struct job) + crypto_aead_reqsize(t->inner));
	return 0;
}

static void gcm_exit(struct crypto_aead *tfm)
{
	struct transform *t = crypto_aead_ctx(tfm);

	crypto_free_aead(t->inner);
}

static int gcm_setkey(struct crypto_aead *tfm, const u8 *key, unsigned int len)
{
	struct transform *t = crypto_aead_ctx(tfm);

	crypto_aead_clear_flags(t->inner, CRYPTO_TFM_REQ_MASK);
	crypto_aead_set_flags(t->inner, crypto_aead_get_flags(tfm) & CRYPTO_TFM_REQ_MASK);
	return crypto_aead_setkey(t->inner, key, len);
}

static int gcm_setauthsize(struct crypto_aead *tfm, unsigned int size)
{
	struct transform *t = crypto_aead_ctx(tfm);

	return crypto_aead_setauthsize(t->inner, size);
}

static struct aead_alg gcm = {
	.base = {
		.cra_name = "gcm(aes)",
		.cra_driver_name = "gcm-aes-caam",
		.cra_priority = 3000,
		.cra_flags = CRYPTO_ALG_ASYNC | CRYPTO_ALG_ALLOCATES_MEMORY |
			     CRYPTO_ALG_KERN_DRIVER_ONLY,
		.cra_blocksize = 1,
		.cra_ctxsize = sizeof(struct transform),
		.cra_module = THIS_MODULE,
	},
	.init = gcm_init,
	.exit = gcm_exit,
	.setkey = gcm_setkey,
	.setauthsize = gcm_setauthsize,
	.encrypt = gcm_encrypt,
	.decrypt = gcm_decrypt,
	.ivsize = GCM_AES_IV_SIZE,
	.maxauthsize = AES_BLOCK_SIZE,
	.chunksize = AES_BLOCK_SIZE,
};

static int __init caamsim_init(void)
{
	int err;

	ring.thread = kthread_run(engine, NULL, "caamsim");
	if (IS_ERR(ring.thread))
		return PTR_ERR(ring.thread);
	err = crypto_register_aead(&gcm);
	if (err)
		kthread_stop(ring.thread);
	return err;
}

/* A transform holds the module, so no request can be left here. */
static void __exit caamsim_exit(void)
{
	crypto_unregister_aead(&gcm);
	kthread_stop(ring.thread);
}

module_init(caamsim_init);
module_exit(caamsim_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A stand-in for the CAAM crypto engine, for tests");
MODULE_SOFTDEP("pre: gcm");
