// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "helpers.h"
#include "mm_id.h"

u64 afutex_mm_id(void)
{
	return mm_id(current->mm);
}

/* smp_mb(), and then the mm of the current task: a waker needs both, in one call. */
u64 afutex_mm_id_after_mb(void)
{
	/* Pairs with the full barrier of a waiter that counts itself; see rust/futex/wake.rs. */
	smp_mb();
	return mm_id(current->mm);
}

void afutex_put_page(struct page *page)
{
	put_page(page);
}

/* AFUTEX_PAGE_*: what kind of memory a page is. The caller holds it. */
unsigned int afutex_page_backing(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_anon(folio))
		return AFUTEX_PAGE_ANON;
	return READ_ONCE(folio->mapping) ? AFUTEX_PAGE_FILE : AFUTEX_PAGE_DETACHED;
}

struct folio *afutex_page_folio(struct page *page)
{
	return page_folio(page);
}

bool afutex_mm_seq(struct mm_struct *mm, unsigned int *seq)
{
	return mmap_lock_speculate_try_begin(mm, seq);
}

bool afutex_mm_seq_changed(struct mm_struct *mm, unsigned int seq)
{
	return mmap_lock_speculate_retry(mm, seq);
}

unsigned long afutex_page_folio_pages(struct page *page)
{
	return folio_nr_pages(page_folio(page));
}

int afutex_page_refs(struct page *page)
{
	return folio_ref_count(page_folio(page));
}

/* The address of pages one after the other, or NULL. */
void *afutex_pages_map(struct page **pages, unsigned long nr)
{
	if (nr == 1)
		return page_address(pages[0]);
	return vmap(pages, nr, VM_MAP, PAGE_KERNEL);
}

void afutex_pages_unmap(void *addr)
{
	if (is_vmalloc_addr(addr))
		vunmap(addr);
}

unsigned long afutex_vma_pgoff(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}
