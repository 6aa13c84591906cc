/* The doorbell of a lane (docs/lane.md, "The doorbell"): one writer, one reader, a ring that
 * is modelled by the number of records in it, an eventfd.
 *
 * The writer's stores of records reach the reader late, as on a processor with store buffers:
 * `stored` counts those the writer has made, `seen` those the reader can see. An exchange of
 * the bell lets all earlier stores out, and reads and writes the bell in one step.
 *
 *   spin -a lane.pml                     must find no error
 *   spin -a -DWITHOUT_EXCHANGE lane.pml  the writer only reads the bell: must find the lost
 *                                        wake-up, as an invalid end state
 *   spin -a -DWITHOUT_LOOK lane.pml      the reader does not look again: likewise
 *
 * A reader that sleeps for ever while records are to come is an invalid end state.
 */
#define RECORDS 4

byte stored = 0;   /* records that the writer has stored */
byte seen = 0;     /* of these, those that have left its store buffer */
byte taken = 0;    /* records that the reader took */
bit bell = 0;      /* the shared word */
bit eventfd = 0;   /* readable */

/* The store buffer empties when it likes. */
active proctype Processor() {
end:
  do
  :: atomic { seen < stored -> seen++ }
  od
}

active proctype Writer() {
  bit was;
  do
  :: stored < RECORDS ->
    stored++;
    /* A batch: more records before the bell is asked for. */
    if
    :: skip
    :: stored < RECORDS -> stored++
    fi;
#ifdef WITHOUT_EXCHANGE
    /* A plain load may be done before the stores are seen. */
    was = bell;
    if
    :: was == 1 -> bell = 0
    :: else
    fi;
#else
    atomic { seen = stored; was = bell; bell = 0 }
#endif
    if
    :: was == 1 -> eventfd = 1
    :: else
    fi
  :: stored == RECORDS -> break
  od
}

active proctype Reader() {
  do
  :: taken == RECORDS -> break
  :: taken < RECORDS && taken < seen -> taken++
  :: taken < RECORDS && taken == seen ->
    /* Arm */
    bell = 1;
#ifndef WITHOUT_LOOK
    if
    :: taken < seen -> bell = 0; goto again   /* Disarm */
    :: else
    fi;
#endif
    /* Asleep: a bell that was set stays so over wakings for other reasons. */
    do
    :: eventfd == 1 -> eventfd = 0; break
    od;
    /* The thread may want the bell no more, and spin. */
    if
    :: skip
    :: bell = 0
    fi;
again:
    skip
  od;
  assert(taken == RECORDS)
}
