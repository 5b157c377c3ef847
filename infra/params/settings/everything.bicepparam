// The app settings of an installation with every kind of setting. What is known only after a deployment has sample values.
using '../../app/settings.bicep'

param siteName = 'func-1'
param hostName = 'func-1.azurewebsites.net'
param storageName = 'stapp'
param mailStorageUrl = 'https://stmail.blob.core.windows.net'
param mailContainer = 'mail'
param insightsConnectionString = 'InstrumentationKey=11111111-2222-3333-4444-555555555555'
param identityClientId = '11111111-2222-3333-4444-555555555555'
param vaultUri = 'https://kv-1.vault.azure.net/'
param mailboxes = {
  support: {
    PROTOCOL: 'imap'
    HOST: 'imap.example.com'
    PORT: 993
    ADDRESS: 'support@example.com'
    USERNAME: null
    FOLDERS: [
      'INBOX'
      'INBOX/Orders'
    ]
    ALIASES: [
      'help@example.com'
      'service@example.com'
    ]
    DELIVERY_HINTS: false
    TRUSTED_HOPS: 2
  }
  orders: {
    PROTOCOL: 'pop3'
    PRESET: 'gmail-pop3'
    ADDRESS: 'orders@example.com'
    AFTER: 'keep'
  }
  office: {
    PROTOCOL: 'graph'
    ADDRESS: 'office@example.com'
    SIGN_IN: 'managed-identity'
  }
  sales: {
    PROTOCOL: 'graph'
    ADDRESS: 'sales@example.com'
    SIGN_IN: 'managed-identity'
    CLIENT_ID: '66666666-7777-8888-9999-000000000000'
  }
}
param mailboxSecretNames = {
  support: {
    PASSWORD: 'support-password'
  }
  orders: {
    PASSWORD: 'orders-password'
  }
}
param routes = {
  sales: {
    ADDRESS: 'sales@example.com'
    ENABLED: true
    ORDER: 10
    SENDERS: [
      '*@customer.example'
      'partner@example.net'
    ]
  }
}
param graphKeySecretName = 'graph-key'
param tuning = {
  POLL_BUDGET: 60
}
