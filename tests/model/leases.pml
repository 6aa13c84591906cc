/* The ledger and the return rings (shm/ledger.h, shm/return_ring.h, shm/pool_rows.cc) as a
   model: one owner, two peers of a thread or two, a few blocks, rings of a few cells. Peers
   die at any step, or end in good order with leases that they never saw, and come back with a
   new row and a new ring. Nothing is counted without bound, so spin looks at every run of
   whatever length, not at the first N steps of each.

   What is checked, in every state:
     reuse     no block is allocated again while a peer that lives holds a lease on it,
               received or not;
     overflow  a cell is empty whenever a peer stores into it;
     forgery   what an honest peer hands back is in its row; what a liar writes ends no lease
               but its own;
     home      when the owner lets go and starts nothing new, every block becomes free.

   A step is one access to memory that two processes share; what the owner does under its
   mutex to memory of its own is one step with it. Memory is sequentially consistent here:
   the orders of the real accesses are ThreadSanitizer's to judge (tests/shm).

   LIAR: peer 1 writes whatever it likes into its ring, whenever it likes; that is all that it
   does, as it covers all else. BREAK 1 to 6 breaks a rule that the
   algorithm lives by: spin must then find a run that fails. */

#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef BREAK
#define BREAK 0
#endif
#ifndef GENERATIONS
#define GENERATIONS 2  /* 1, 2, and 1 again: worse than the 2^32 - 1 of the real ones */
#endif
#ifndef THREADS
#define THREADS 2      /* of peer 0; peer 1 has one */
#endif
#define PEERS 2
#define THREADS_OF(p) ((p) == 0 -> THREADS : (HONEST(p) -> 1 : 0))
/* Peer 1 has one slot and one cell: with two more, states are ten times as many. */
#define CAPACITY_OF(p) ((p) == 0 -> CAPACITY : 1)
#define CREDIT_OF(p) ((p) == 0 -> CREDIT : CREDIT - CAPACITY + 1)
#if BREAK == 1
#define CREDIT (CAPACITY + 1)  /* more leases than the ring has cells */
#else
#define CREDIT CAPACITY
#endif

/* As LeaseCell in shm/lease.h: not 0, as no generation is 0. */
#define CELL(slot, generation) ((generation) * CREDIT + (slot))
#define CELL_SLOT(value) ((value) % CREDIT)
#define CELL_GENERATION(value) ((value) / CREDIT)

typedef Row {
  bool used[CREDIT];
  byte generation[CREDIT];
  byte block[CREDIT]
}
typedef Ring {
  byte cell[CAPACITY];         /* shared: the peer stores, the owner empties */
  byte tail;                   /* the peer's own, modulo CAPACITY */
  byte head;                   /* the owner's own, likewise */
  bool done                    /* shared: the peer's last store */
}

/* The owner's private memory. */
Row row[PEERS];
bool closed[PEERS];            /* the row of a peer that is gone */
bool saw_done[PEERS];          /* the owner read the word */
byte holds[BLOCKS];            /* 0: the block is free */
bool user[BLOCKS];             /* one of the holds is the owner's own */
bool ending;                   /* nothing new begins */

Ring ring[PEERS];

/* Leases on their way to a peer, or with it: what the descriptor says, by slot. 0: none. */
typedef Mail {
  byte cell[CREDIT];
  byte block[CREDIT]
}
Mail mail[PEERS];

/* What is so, which only the checks may ask. */
typedef PerBlock { byte n[BLOCKS] }
PerBlock reads[PEERS];         /* leases through which the peer may still read the block */
bool alive[PEERS] = true;
byte resting[PEERS];           /* threads of a dead peer that have stopped */
byte busy[PEERS];              /* threads of a live one between receiving and handing back */

#ifdef LIAR
#define HONEST(p) ((p) == 0)
#else
#define HONEST(p) true
#endif

/* Guards: an alternative is open only where it does something, so that `timeout` means that
   nothing can happen any more. */
#define CELL_CAME(p) (ring[p].cell[ring[p].head] != 0)
#define A_LEASE_IS_THERE(p) (mail[p].cell[0] != 0 || mail[p].cell[1] != 0)
#define A_BLOCK_IS_FREE (holds[0] == 0 || holds[1] == 0)
#define AT_REST(p) (!alive[p] && resting[p] == THREADS_OF(p) && !closed[p])
#define GONE(p) (AT_REST(p) && !ring[p].done)
/* It looks at the word, and then for cells. */
#if BREAK == 6
#define LOOKS(p) (!saw_done[p] && !CELL_CAME(p))  /* the other way round */
#define ENDED(p) (AT_REST(p) && saw_done[p] && ring[p].done)
#else
#define LOOKS(p) (ring[p].done && !saw_done[p])
#define ENDED(p) (AT_REST(p) && saw_done[p] && !CELL_CAME(p))
#endif

#define DROP_HOLD(b) assert(holds[b] > 0); holds[b]--

/* Ledger::Take of what somebody else says; `took` tells. */
inline take(p, s, g) {
  if
  :: row[p].used[s] && row[p].generation[s] == g ->
     row[p].used[s] = false;
     DROP_HOLD(row[p].block[s]);
     row[p].block[s] = 0;
     took = true
  :: else -> took = false
  fi
}

/* PoolCore::CloseRow, and an empty row and ring for the peer's next life. */
inline close_row(p) {
  s = 0;
  do
  :: s < CREDIT ->
     if
     :: row[p].used[s] -> row[p].used[s] = false; DROP_HOLD(row[p].block[s])
     :: else
     fi;
     row[p].generation[s] = 0;
     row[p].block[s] = 0;
     mail[p].cell[s] = 0;
     mail[p].block[s] = 0;
     s++
  :: else -> break
  od;
  s = 0;
  do
  :: s < CAPACITY ->
     assert(!ring[p].done || !HONEST(p) || ring[p].cell[s] == 0);  /* forgery: a late one */
     ring[p].cell[s] = 0;
     s++
  :: else -> break
  od;
  ring[p].done = false;
  saw_done[p] = false;
  ring[p].head = 0;
  ring[p].tail = 0;
  s = 0;
  closed[p] = true
}

proctype Owner() {
  byte p, b, s, value;
  bool took;
  do
  /* Allocate. Blocks are alike, so the first free one stands for any. */
  :: atomic { !ending && A_BLOCK_IS_FREE -> b = 0;
       do
       :: holds[b] == 0 -> break
       :: else -> b++
       od;
       assert(reads[0].n[b] == 0 && reads[1].n[b] == 0);        /* reuse */
       holds[b] = 1;
       user[b] = true;
       b = 0 }

  /* The last Buffer of the owner dies. */
  :: atomic { user[0] -> user[0] = false; DROP_HOLD(0) }
  :: atomic { user[1] -> user[1] = false; DROP_HOLD(1) }

  /* Grant, of a block that the caller holds, in the first free slot; and send. */
  :: atomic { !ending -> select(b : 0 .. BLOCKS - 1);
       if
       :: p = 0
       :: p = 1
       fi;
       s = 0;
       do
       :: s < CREDIT_OF(p) && row[p].used[s] -> s++
       :: else -> break
       od;
       if
       :: s < CREDIT_OF(p) && user[b] && alive[p] ->
          row[p].used[s] = true;
          row[p].generation[s] = row[p].generation[s] % GENERATIONS + 1;
          row[p].block[s] = b;
          holds[b]++;
          value = row[p].generation[s];
          if
          :: HONEST(p) ->
             mail[p].cell[s] = CELL(s, value); mail[p].block[s] = b; reads[p].n[b]++
          :: !HONEST(p)
          :: take(p, s, value); assert(took)                    /* Revoke: it was not sent */
          fi
       :: else
       fi;
       b = 0; s = 0; p = 0; value = 0; took = false }

  /* Drain: one cell of one row, in two accesses. */
  :: atomic { CELL_CAME(0) || CELL_CAME(1) ->
       if
       :: CELL_CAME(0) -> p = 0
       :: CELL_CAME(1) -> p = 1
       fi;
       value = ring[p].cell[ring[p].head] };
     atomic {
#if BREAK != 2
       ring[p].cell[ring[p].head] = 0;
#endif
       ring[p].head = (ring[p].head + 1) % CAPACITY_OF(p);
#if BREAK == 5
       DROP_HOLD(row[p].block[CELL_SLOT(value)]);               /* believes what it reads */
       took = true;
#else
       s = CELL_SLOT(value);
       value = CELL_GENERATION(value);
       take(p, s, value);
#endif
       assert(took || !HONEST(p));                              /* forgery */
       p = 0; s = 0; value = 0; took = false }

  /* The link says that a peer is gone: its row closes; and the peer may come back. */
#if BREAK == 3
  :: atomic { !ending -> 
       if
       :: p = 0
       :: p = 1
       fi;
       close_row(p); closed[p] = false; p = 0 }                 /* a guess */
#endif
  :: atomic { GONE(0) || GONE(1) ->
       if
       :: GONE(0) -> p = 0
       :: GONE(1) -> p = 1
       fi;
       close_row(p);
       p = 0 }
  /* The peer says that it is done: what it did not hand back, it never saw. */
  :: atomic { LOOKS(0) || LOOKS(1) ->
       if
       :: LOOKS(0) -> p = 0
       :: LOOKS(1) -> p = 1
       fi;
       saw_done[p] = true;
       p = 0 }
  :: atomic { ENDED(0) || ENDED(1) ->
       if
       :: ENDED(0) -> p = 0
       :: ENDED(1) -> p = 1
       fi;
       close_row(p);
       p = 0 }
  :: atomic { !ending && closed[0] -> closed[0] = false; alive[0] = true }
  :: atomic { !ending && closed[1] -> closed[1] = false; alive[1] = true }

  :: atomic { !ending -> ending = true }
  :: timeout -> break
  od;
  assert(ending);
  b = 0;
  do
  :: b < BLOCKS -> assert(holds[b] == 0); b++                   /* home */
  :: else -> break
  od
}

/* One thread of a peer: reads a block for as long as it likes, and hands the lease back, in
   the two steps of ReturnRingProducer::Push. */
proctype Thread(byte p) {
  byte value, b, s, at;
end_life:
  do
  :: atomic { alive[p] && A_LEASE_IS_THERE(p) -> select(s : 0 .. CREDIT - 1);
       if
       :: mail[p].cell[s] != 0 ->
          value = mail[p].cell[s]; b = mail[p].block[s];
          mail[p].cell[s] = 0; mail[p].block[s] = 0;
          busy[p]++;
          at = ring[p].tail;
          ring[p].tail = (at + 1) % CAPACITY_OF(p);
          s = 0
       :: else -> s = 0; goto end_life
       fi };
     if
     :: atomic { alive[p] ->
          assert(ring[p].cell[at] == 0);                        /* overflow */
#if BREAK != 4
          reads[p].n[b]--;
#endif
          ring[p].cell[at] = value;
          busy[p]--;
#if BREAK != 4
          value = 0; b = 0; at = 0 }
#else
          value = 0; at = 0 };
     if                                                         /* reads once more */
     :: atomic { alive[p] -> reads[p].n[b]--; b = 0 }
     :: !alive[p] -> goto dead
     fi
#endif
     :: !alive[p] -> goto dead
     fi
  :: !alive[p] ->
dead:
     atomic { value = 0; b = 0; at = 0; resting[p]++ };
end_rest:
     atomic { alive[p] -> resting[p]-- }
  od
}

/* kill -9, at any moment; or an end in good order, once no view lives. A liar must end, or its
   leases never would. */
proctype Killer() {
  byte b;
  do
  :: atomic { !ending && alive[0] && busy[0] == 0 -> alive[0] = false; ring[0].done = true; b = 0;
       do :: b < BLOCKS -> reads[0].n[b] = 0; b++ :: else -> break od; b = 0 }
  :: atomic { HONEST(1) && !ending && alive[1] && busy[1] == 0 ->
       alive[1] = false; ring[1].done = true; b = 0;
       do :: b < BLOCKS -> reads[1].n[b] = 0; b++ :: else -> break od; b = 0 }
  :: atomic { !ending && alive[0] -> alive[0] = false; busy[0] = 0; b = 0;
       do :: b < BLOCKS -> reads[0].n[b] = 0; b++ :: else -> break od; b = 0 }
#ifdef LIAR
  :: atomic { alive[1] ->
#else
  :: atomic { !ending && alive[1] ->
#endif
       alive[1] = false; busy[1] = 0; b = 0;
       do :: b < BLOCKS -> reads[1].n[b] = 0; b++ :: else -> break od; b = 0 }
  :: ending && (HONEST(1) || !alive[1]) -> break
  od
}

#ifdef LIAR
proctype Liar() {
  byte at, value;
  do
  :: atomic { alive[1] && !ending -> at = 0;
       select(value : 0 .. CELL(CREDIT, GENERATIONS));
       ring[1].cell[at] = value;
       at = 0; value = 0 }
  :: ending -> break
  od
}
#endif

init {
  atomic {
    run Owner();
    run Thread(0);
#if THREADS == 2
    run Thread(0);
#endif
#ifndef LIAR
    run Thread(1);
#endif
    run Killer();
#ifdef LIAR
    run Liar()
#endif
  }
}
