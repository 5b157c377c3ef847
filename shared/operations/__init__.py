"""Operations on stored mail that an operator starts: search, replay and its preview, erasure, and health metrics."""
