"""What administrators write policy with: checks, cases, explanations, comparisons, skeletons."""
