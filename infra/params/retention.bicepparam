// Rules that move old mail to cheaper tiers and delete it, and a recovered vault.
using '../main.bicep'

param environmentName = 'retention'
param location = 'germanywestcentral'
param mailRedundancy = 'Standard_GRS'
param recoverDays = 30
param coolAfterDays = 30
param archiveAfterDays = 90
param deleteAfterDays = 365
param recoverVault = true
